"""Why footage is dropped: codes for programs, sentences for people, English and Chinese."""

REASONS: dict[str, tuple[str, str]] = {
    "unreadable": ("The file cannot be read.", "文件无法读取。"),
    "damaged": (
        "The file breaks off here; what comes before was used.",
        "文件在此处损坏，之前的部分已使用。",
    ),
    "duplicate": ("The same file stands under another name.", "与另一文件内容相同。"),
    "low_resolution": ("The picture is too small.", "画面分辨率过低。"),
    "low_bitrate": ("The picture is compressed too much.", "码率过低，画面压缩过度。"),
    "no_sound": ("The file has no sound.", "没有音轨。"),
    "no_face": ("No face is to be seen.", "没有人脸。"),
    "several_faces": ("Several faces are to be seen.", "出现多张人脸。"),
    "small_face": ("The face is too small.", "人脸过小。"),
    "turned_away": ("The face is turned away.", "脸部偏转过大。"),
    "no_speech": ("Nobody speaks.", "没有人说话。"),
    "too_short": ("The usable part is too short.", "可用片段过短。"),
    "blurred": ("The mouth is blurred.", "嘴部模糊。"),
    "exposure": ("The face is too dark, too bright or without contrast.", "曝光不当。"),
    "speaker_unseen": ("Somebody else speaks: the lips rest.", "说话者不是画面中的人：嘴唇不动。"),
    "out_of_sync": ("The mouth does not go with the sound.", "口型与声音不一致。"),
    "unsteady_sync": ("The offset between sound and mouth changes.", "音画偏移不固定。"),
}
"""Reason codes of the manifest: (English, Chinese)."""
