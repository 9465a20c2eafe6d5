;; Calls the kernel, and reads memory.
(module $first
  (import "kernel" "log" (func $log (param i32)))
  (memory 1)

  (func $load (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "read") (param i32) (result i32)
    (call $log (local.get 0))
    (call $load (local.get 0))))
