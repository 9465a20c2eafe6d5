;; A wait on a memory that no other thread can reach: it would never end.
(module $atomic_wait_not_shared
  (memory 1)
  (func $wait (param i32)
    (drop (memory.atomic.wait32 (local.get 0) (i32.const 0) (i64.const -1))))
  (func $_start (export "_start")
    (call $wait (i32.const 0))))
