{
  "targets": [
    {
      "target_name": "cairn",
      "sources": ["src/addon.c", "src/arguments.c", "src/attributes.c", "src/busy-poll.c", "src/crc32c.c", "src/crc64.c", "src/file.c", "src/md5.c", "src/memory.c", "src/mount.c", "src/notify.c", "src/process.c", "src/fuse-backing.c", "src/fuse-channel.c", "src/fuse-reply.c"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE", "_FILE_OFFSET_BITS=64"],
      "cflags": ["-O2", "-Wall", "-Wextra", "-Werror=implicit-function-declaration", "-std=gnu11", "-fvisibility=hidden"]
    }
  ]
}
