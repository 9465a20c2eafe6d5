;; A vector load across the end of the memory.
(module $simd_load_out_of_bounds
  (memory 1)
  (func $load (param i32) (result v128)
    (v128.load (local.get 0)))
  (func $_start (export "_start")
    (drop (call $load (i32.const 0xfff8)))))
