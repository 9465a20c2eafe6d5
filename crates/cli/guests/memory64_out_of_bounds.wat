;; A load from a memory with 64-bit addresses, far beyond all that is mapped.
(module $memory64_out_of_bounds
  (memory i64 1)
  (func $load (param i64) (result i64)
    (i64.load (local.get 0)))
  (func $_start (export "_start")
    (drop (call $load (i64.const 0x7000_0000_0000)))))
