;; One export for each way to trap. Each goes through a function of its own, so
;; that backtraces have two frames.
(module $traps
  (memory (export "memory") 1)
  (table $functions 2 funcref)
  (type $nothing (func))

  (func $unreachable (unreachable))
  (func (export "unreachable") (call $unreachable))

  (func $divide (param i32 i32) (result i32)
    (i32.div_s (local.get 0) (local.get 1)))
  (func (export "divide") (param i32 i32) (result i32)
    (call $divide (local.get 0) (local.get 1)))

  (func $divide_unsigned (param i32 i32) (result i32)
    (i32.div_u (local.get 0) (local.get 1)))
  (func (export "divide_unsigned") (param i32 i32) (result i32)
    (call $divide_unsigned (local.get 0) (local.get 1)))

  (func $load (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "load") (param i32) (result i32) (call $load (local.get 0)))

  (func $load_far (param i32) (result i64) (i64.load offset=0x7fff0000 (local.get 0)))
  (func (export "load_far") (param i32) (result i64) (call $load_far (local.get 0)))

  (func $store (param i32) (i64.store8 (local.get 0) (i64.const 1)))
  (func (export "store") (param i32) (call $store (local.get 0)))

  (func $table_get (param i32) (drop (table.get $functions (local.get 0))))
  (func (export "table_get") (param i32) (call $table_get (local.get 0)))

  ;; Entries of the table are null.
  (func $call_null (param i32) (call_indirect $functions (type $nothing) (local.get 0)))
  (func (export "call_null") (param i32) (call $call_null (local.get 0)))

  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func (export "recurse") (param i32) (result i32) (call $recurse (local.get 0)))

  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1))))
