;; An aligned atomic access past the end of a shared memory.
(module $atomic_out_of_bounds
  (memory 1 2 shared)
  (func $increment (param i32)
    (drop (i64.atomic.rmw.add (local.get 0) (i64.const 1))))
  (func $_start (export "_start")
    (call $increment (i32.const 0x10000))))
