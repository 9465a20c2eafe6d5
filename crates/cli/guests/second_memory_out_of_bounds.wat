;; A load that would lie in the first memory, but is one from the second.
(module $second_memory_out_of_bounds
  (memory $large 4)
  (memory $small 1)
  (func $load (param i32) (result i32)
    (i32.load $small (local.get 0)))
  (func $_start (export "_start")
    (drop (i32.load $large (i32.const 0x1fff0)))
    (drop (call $load (i32.const 0x1fff0)))))
