"""A peer in a process of its own: `python -m tests.streaming.outlets.receiver URL FILE [OPTION=VALUE ...]`.

Keeps what FFmpeg receives from URL in FILE (Matroska), as it is; says "open" and how many pictures it has.
"""

import sys

import av


def main(url: str, path: str, options: dict[str, str]) -> None:
    # FFmpeg's RTMP server fails at the end of a stream instead of ending it.
    with av.open(url, options=options) as source, av.open(path, "w", format="matroska") as target:
        streams = {
            stream.index: target.add_stream_from_template(stream, opaque=True) for stream in source.streams
        }
        print("open", flush=True)
        pictures = 0
        try:
            for packet in source.demux():
                if packet.dts is None:
                    continue
                pictures += packet.stream.type == "video"
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
                print(pictures, flush=True)
        except OSError as error:
            print("end", error, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], dict(option.split("=", 1) for option in sys.argv[3:]))
