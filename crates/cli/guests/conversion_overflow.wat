;; A floating-point number too large for the integer it is converted to.
(module $conversion_overflow
  (func $truncate (param f64) (result i32)
    (i32.trunc_f64_s (local.get 0)))
  (func $_start (export "_start")
    (drop (call $truncate (f64.const 1e300)))))
