;; The remainder of a 64-bit division by zero.
(module $integer_remainder_by_zero
  (func $remainder (param i64 i64) (result i64)
    (i64.rem_s (local.get 0) (local.get 1)))
  (func $_start (export "_start")
    (drop (call $remainder (i64.const 42) (i64.const 0)))))
