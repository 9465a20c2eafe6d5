;; Numbers: what compilers of other languages make of them.
(module $arithmetic
  (memory 1)
  (func $gcd (export "gcd") (param i64 i64) (result i64)
    (loop $next (result i64)
      (if (result i64) (i64.eqz (local.get 1))
        (then (local.get 0))
        (else
          (local.get 1)
          (local.set 1 (i64.rem_u (local.get 0) (local.get 1)))
          (local.set 0)
          (br $next)))))
  (func (export "divisions") (param i32 i32 i64 i64) (result i64)
    (i64.add
      (i64.extend_i32_s (i32.div_s (local.get 0) (local.get 1)))
      (i64.add (i64.div_u (local.get 2) (local.get 3))
        (i64.extend_i32_u (i32.rem_s (local.get 0) (local.get 1))))))
  (func (export "bits") (param i32 i64) (result i64)
    (i64.add
      (i64.extend_i32_u
        (i32.add (i32.popcnt (local.get 0)) (i32.add (i32.clz (local.get 0)) (i32.ctz (local.get 0)))))
      (i64.add
        (i64.rotl (i64.popcnt (local.get 1)) (i64.clz (local.get 1)))
        (i64.extend16_s (i64.rotr (local.get 1) (i64.const 7))))))
  (func (export "wide") (param i64 i64 i64 i64) (result i64 i64)
    (i64.add128 (local.get 0) (local.get 1) (i64.mul_wide_s (local.get 2) (local.get 3))))
  (func $hypot (export "hypot") (param f64 f64) (result f64)
    (f64.sqrt (f64.add (f64.mul (local.get 0) (local.get 0)) (f64.mul (local.get 1) (local.get 1)))))
  (func (export "rounding") (param f32 f64) (result f64)
    (f64.add
      (f64.promote_f32 (f32.add (f32.floor (local.get 0)) (f32.nearest (local.get 0))))
      (f64.add (f64.ceil (local.get 1)) (f64.copysign (f64.trunc (local.get 1)) (f64.const -1)))))
  (func (export "conversions") (param f32 f64) (result i64)
    (i64.add
      (i64.extend_i32_s (i32.add (i32.trunc_f32_s (local.get 0)) (i32.trunc_sat_f64_u (local.get 1))))
      (i64.xor (i64.trunc_f64_u (local.get 1))
        (i64.reinterpret_f64 (f64.convert_i64_u (i64.trunc_sat_f32_s (local.get 0)))))))
  (func (export "extremes") (param f32 f32 f64 f64) (result f64)
    (f64.add
      (f64.promote_f32 (f32.min (local.get 0) (local.get 1)))
      (f64.max (local.get 2) (f64.promote_f32 (f32.demote_f64 (local.get 3))))))
)
