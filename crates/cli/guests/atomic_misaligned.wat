;; An atomic access whose address is no multiple of its size.
(module $atomic_misaligned
  (memory 1 1 shared)
  (func $increment (param i32)
    (drop (i32.atomic.rmw.add (local.get 0) (i32.const 1))))
  (func $_start (export "_start")
    (call $increment (i32.const 0x102))))
