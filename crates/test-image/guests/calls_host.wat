;; Calls the host, and does something with what comes back.
(module $calls_host
  (import "test" "call" (func $call (param i32) (result i32)))

  (func $inner (param i32) (result i32)
    (i32.add (call $call (local.get 0)) (i32.const 1)))
  (func (export "call") (param i32) (result i32) (call $inner (local.get 0)))

  ;; The same, and traps afterwards.
  (func $trap_after (param i32)
    (drop (call $inner (local.get 0)))
    (unreachable))
  (func (export "call_and_trap") (param i32) (call $trap_after (local.get 0))))
