{
  "targets": [
    {
      "target_name": "cairn",
      "sources": ["src/addon.c"],
      "cflags": ["-O2", "-Wall", "-Wextra", "-Werror=implicit-function-declaration", "-std=gnu11"]
    }
  ]
}
