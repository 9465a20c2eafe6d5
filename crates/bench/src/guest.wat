;; What both sides run: one function for each row of the comparison.
(module $guest
  (import "host" "nothing" (func $nothing))
  (import "host" "where" (func $where))
  (import "host" "fail" (func $fail))
  (import "host" "capture" (func $capture))
  (import "host" "again" (func $again (param i32)))

  (memory 1)

  (func (export "empty"))

  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))

  (func (export "call_host")
    (call $nothing))

  (func (export "call_where")
    (call $where))

  ;; Calls itself until `depth` frames are on the stack, then fails in the host.
  (func $fail_at (export "fail_at") (param $depth i32)
    (if (i32.eq (local.get $depth) (i32.const 1))
      (then (call $fail))
      (else (call $fail_at (i32.sub (local.get $depth) (i32.const 1))))))

  ;; The same, then the host captures backtraces.
  (func $capture_at (export "capture_at") (param $depth i32)
    (if (i32.eq (local.get $depth) (i32.const 1))
      (then (call $capture))
      (else (call $capture_at (i32.sub (local.get $depth) (i32.const 1))))))

  ;; One frame of guest, one of host, and so on, `levels` times; then fails in the host.
  (func (export "nest") (param $levels i32)
    (if (i32.eq (local.get $levels) (i32.const 1))
      (then (call $fail))
      (else (call $again (i32.sub (local.get $levels) (i32.const 1))))))

  (func (export "load") (param $address i32) (result i32)
    (i32.load (local.get $address)))

  (func (export "divide") (param i32 i32) (result i32)
    (i32.div_s (local.get 0) (local.get 1)))

  (func (export "unreachable")
    (unreachable)))
