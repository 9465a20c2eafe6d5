;; A long computation that keeps many values alive, of integers and floating
;; point, more than there are registers to change unnoticed.
(module $registers
  (func (export "compute") (param $rounds i32) (result i64)
    (local $a i64) (local $b i64) (local $c i64) (local $d i64)
    (local $e i64) (local $f i64) (local $g i64) (local $h i64)
    (local $p f64) (local $q f64) (local $r f64) (local $s f64)
    (local $t f64) (local $u f64) (local $v f32) (local $w f32)
    (local.set $a (i64.const 0x123456789abcdef)) (local.set $b (i64.const 3))
    (local.set $c (i64.const 5)) (local.set $d (i64.const 7))
    (local.set $e (i64.const 11)) (local.set $f (i64.const 13))
    (local.set $g (i64.const 17)) (local.set $h (i64.const 19))
    (local.set $p (f64.const 1.5)) (local.set $q (f64.const 2.25))
    (local.set $r (f64.const 3.125)) (local.set $s (f64.const -4.5))
    (local.set $t (f64.const 0.0625)) (local.set $u (f64.const 1e10))
    (local.set $v (f32.const 1.5)) (local.set $w (f32.const 0.75))
    (loop $again
      (local.set $a (i64.add (i64.rotl (local.get $a) (i64.const 5)) (local.get $b)))
      (local.set $b (i64.xor (local.get $b) (i64.mul (local.get $c) (local.get $a))))
      (local.set $c (i64.add (local.get $c) (i64.rotr (local.get $d) (local.get $e))))
      (local.set $d (i64.sub (local.get $d) (local.get $f)))
      (local.set $e (i64.xor (local.get $e) (i64.add (local.get $g) (local.get $h))))
      (local.set $f (i64.add (local.get $f) (i64.shr_u (local.get $a) (i64.const 7))))
      (local.set $g (i64.rotl (local.get $g) (local.get $d)))
      (local.set $h (i64.add (local.get $h) (local.get $e)))
      (local.set $p (f64.add (f64.mul (local.get $p) (local.get $t)) (local.get $q)))
      (local.set $q (f64.sub (f64.sqrt (f64.abs (local.get $r))) (local.get $s)))
      (local.set $r (f64.div (local.get $u) (f64.add (f64.abs (local.get $p)) (f64.const 1))))
      (local.set $s (f64.max (f64.neg (local.get $s)) (f64.mul (local.get $q) (local.get $t))))
      (local.set $t (f64.add (f64.const 0.0625) (f64.div (local.get $t) (f64.const 16))))
      (local.set $u (f64.add (local.get $u) (f64.convert_i64_s (i64.shr_s (local.get $b) (i64.const 32)))))
      (local.set $v (f32.add (f32.mul (local.get $v) (local.get $w)) (f32.const 1)))
      (local.set $w (f32.sub (f32.const 1) (f32.div (local.get $w) (f32.const 3))))
      (br_if $again
        (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (i64.xor
      (i64.xor
        (i64.xor (i64.xor (local.get $a) (local.get $b)) (i64.xor (local.get $c) (local.get $d)))
        (i64.xor (i64.xor (local.get $e) (local.get $f)) (i64.xor (local.get $g) (local.get $h))))
      (i64.xor
        (i64.xor
          (i64.xor (i64.reinterpret_f64 (local.get $p)) (i64.reinterpret_f64 (local.get $q)))
          (i64.xor (i64.reinterpret_f64 (local.get $r)) (i64.reinterpret_f64 (local.get $s))))
        (i64.xor
          (i64.xor (i64.reinterpret_f64 (local.get $t)) (i64.reinterpret_f64 (local.get $u)))
          (i64.extend_i32_u
            (i32.xor (i32.reinterpret_f32 (local.get $v)) (i32.reinterpret_f32 (local.get $w)))))))))
