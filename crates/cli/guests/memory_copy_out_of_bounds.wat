;; `memory.copy` from past the end.
(module $memory_copy_out_of_bounds
  (memory 1)
  (func $copy (param $to i32) (param $from i32) (param $length i32)
    (memory.copy (local.get $to) (local.get $from) (local.get $length)))
  (func $_start (export "_start")
    (call $copy (i32.const 0) (i32.const 0xfff0) (i32.const 0x11))))
