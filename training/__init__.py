"""How a mouth is learned: the studio that renders talking presenters, the models, the training."""
