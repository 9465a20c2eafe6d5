;; A load of which only the first byte lies in the memory.
(module $memory_load_out_of_bounds
  (memory 1)
  (func $load (param i32) (result i32)
    (i32.load (local.get 0)))
  (func $_start (export "_start")
    (drop (call $load (i32.const 0xffff)))))
