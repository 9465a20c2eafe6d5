;; `memory.fill` past the end: it is refused before the first byte is written.
(module $memory_fill_out_of_bounds
  (memory 1)
  (func $fill (param $to i32) (param $length i32)
    (memory.fill (local.get $to) (i32.const 0xaa) (local.get $length)))
  (func $_start (export "_start")
    (call $fill (i32.const 0xfff0) (i32.const 0x11))))
