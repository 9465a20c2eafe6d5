;; A NaN converted to an integer.
(module $bad_conversion
  (func $truncate (param f32) (result i64)
    (i64.trunc_f32_u (local.get 0)))
  (func $_start (export "_start")
    (drop (call $truncate (f32.const nan)))))
