;; Atomic operations of every width.
(module $threads
  (memory $shared 1 2 shared)
  (memory $own 1)
  (func (export "add") (param i32 i32 i64) (result i64)
    (i64.add
      (i64.extend_i32_u
        (i32.add (i32.atomic.rmw8.add_u (local.get 0) (local.get 1))
          (i32.add (i32.atomic.rmw16.sub_u (local.get 0) (local.get 1))
            (i32.atomic.rmw.xchg (local.get 0) (local.get 1)))))
      (i64.add (i64.atomic.rmw.or (local.get 0) (local.get 2))
        (i64.atomic.rmw32.xor_u $own (local.get 0) (local.get 2)))))
  (func (export "exchange") (param i32 i32 i32 i64 i64) (result i64)
    (i64.add
      (i64.extend_i32_u
        (i32.add (i32.atomic.rmw8.cmpxchg_u (local.get 0) (local.get 1) (local.get 2))
          (i32.atomic.rmw.cmpxchg (local.get 0) (local.get 1) (local.get 2))))
      (i64.atomic.rmw.cmpxchg (local.get 0) (local.get 3) (local.get 4))))
  (func $lock (export "lock") (param i32)
    (loop $try
      (if (i32.atomic.rmw.cmpxchg (local.get 0) (i32.const 0) (i32.const 1))
        (then
          (drop (memory.atomic.wait32 (local.get 0) (i32.const 1) (i64.const -1)))
          (br $try)))))
  (func (export "unlock") (param i32)
    (i32.atomic.store (local.get 0) (i32.const 0))
    (atomic.fence)
    (drop (memory.atomic.notify (local.get 0) (i32.const 1))))
  (func (export "wait64") (param i32 i64) (result i32)
    (memory.atomic.wait64 (local.get 0) (i64.atomic.load (local.get 0)) (local.get 1)))
)
