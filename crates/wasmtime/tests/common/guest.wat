(module $guest
  (type $binary (func (param i32 i32) (result i32)))
  (import "host" "log" (func $log (param i32)))
  (import "host" "memory" (memory $shared 1 2 shared))
  (import "host" "base" (global $base i32))
  (memory $memory (export "memory") 1 4)
  (table $table (export "table") 4 8 funcref)
  (table $handles 1 externref)
  (global $count (mut i64) (i64.const 7))
  (global $there (export "there") i32 (i32.add (global.get $base) (i32.const 4)))
  (data (memory $memory) (i32.const 8) "hello")
  (data $later "later")
  (elem (table $table) (i32.const 0) func $divide $run)
  (elem $passive func $divide)
  (start $begin)

  (func $begin (call $log (i32.const 1)))

  (func $divide (export "divide") (type $binary)
    (i32.div_s (local.get 0) (local.get 1)))

  (func $run (export "run") (param i32) (result i32)
    (call $log (local.get 0))
    (call $inner (local.get 0)))

  (func $inner (param i32) (result i32)
    (i32.add
      (i32.load $memory offset=16 (local.get 0))
      (call_indirect $table (type $binary) (i32.const 6) (i32.const 2) (local.get 0))))

  (func (export "float") (param f64 f32) (result i32)
    (i32.add (i32.trunc_f64_s (local.get 0)) (i32.trunc_f32_u (local.get 1))))

  (func (export "grow") (param i32) (result i32)
    (memory.init $memory $later (i32.const 0) (i32.const 0) (i32.const 5))
    (memory.fill $memory (i32.const 0) (i32.const 1) (local.get 0))
    (memory.copy $memory $memory (i32.const 8) (i32.const 0) (local.get 0))
    (drop (memory.atomic.notify $shared (i32.const 0) (i32.const 1)))
    (drop (memory.atomic.wait32 $shared (i32.const 0) (i32.const 1) (i64.const 0)))
    (drop (table.grow $table (ref.func $divide) (local.get 0)))
    (table.init $table $passive (i32.const 0) (i32.const 0) (i32.const 1))
    (elem.drop $passive)
    (data.drop $later)
    (global.set $count (i64.add (global.get $count) (i64.const 1)))
    (memory.grow $memory (local.get 0)))

  (func $stop (export "stop")
    unreachable))
