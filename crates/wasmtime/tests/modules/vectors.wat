;; Vectors.
(module $vectors
  (memory 1)
  (func (export "sum") (param i32 i32) (result i32) (local v128)
    (loop $next
      (local.set 2 (i32x4.add (local.get 2) (v128.load (local.get 0))))
      (local.set 0 (i32.add (local.get 0) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get 0) (local.get 1))))
    (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get 2)) (i32x4.extract_lane 1 (local.get 2)))
      (i32.add (i32x4.extract_lane 2 (local.get 2)) (i32x4.extract_lane 3 (local.get 2)))))
  (func (export "shuffle") (param v128 v128) (result v128)
    (i8x16.swizzle
      (i8x16.shuffle 0 17 2 19 4 21 6 23 8 25 10 27 12 29 14 31 (local.get 0) (local.get 1))
      (v128.const i8x16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0)))
  (func (export "narrow") (param v128 v128) (result v128)
    (i8x16.narrow_i16x8_s
      (i16x8.q15mulr_sat_s (local.get 0) (local.get 1))
      (i16x8.extmul_low_i8x16_u (local.get 0) (local.get 1))))
  (func (export "floats") (param v128 v128) (result v128)
    (f32x4.relaxed_madd
      (f32x4.nearest (local.get 0))
      (f32x4.pmin (local.get 0) (local.get 1))
      (f32x4.convert_i32x4_u (i32x4.trunc_sat_f32x4_s (f32x4.sqrt (local.get 1))))))
  (func (export "masks") (param v128 v128) (result i32)
    (i32.add (i8x16.bitmask (i8x16.eq (local.get 0) (local.get 1)))
      (i64x2.all_true (v128.bitselect (local.get 0) (local.get 1) (v128.not (local.get 0))))))
  (func (export "lanes") (param i32 v128) (result v128)
    (v128.load8_lane 3 (local.get 0)
      (v128.load32_zero (local.get 0))))
)
