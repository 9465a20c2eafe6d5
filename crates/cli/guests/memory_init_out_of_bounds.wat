;; `memory.init` of more bytes than the data segment has.
(module $memory_init_out_of_bounds
  (memory 1)
  (data $greeting "hello")
  (func $init (param $length i32)
    (memory.init $greeting (i32.const 0) (i32.const 0) (local.get $length)))
  (func $_start (export "_start")
    (call $init (i32.const 6))))
