# syntax=docker/dockerfile:1
# Koubo for the machines of a Ray cluster: docs/cluster.md. Build the plain image first:
#
#   docker build -f deploy/Dockerfile -t koubo:0.1.0 .
#   docker build -f deploy/ray.Dockerfile -t koubo-ray:0.1.0 deploy
ARG KOUBO=koubo:0.1.0
FROM ${KOUBO}
USER root
# KubeRay asks for health with wget, and calls ray from a login shell, which has its own PATH.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir 'ray[serve]>=2.60' \
    && ln -s /opt/venv/bin/ray /usr/local/bin/ray
USER 10001:10001
ENV RAY_USAGE_STATS_ENABLED=0
HEALTHCHECK NONE
ENTRYPOINT []
CMD ["ray", "start", "--help"]
