;; The largest address with the largest constant offset: their sum does not fit
;; into 32 bits, and must not wrap around.
(module $memory_huge_offset
  (memory 1)
  (func $load (param i32) (result i32)
    (i32.load8_u offset=0xffffffff (local.get 0)))
  (func $_start (export "_start")
    (drop (call $load (i32.const 0xffffffff)))))
