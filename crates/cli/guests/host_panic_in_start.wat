;; A host function that panics in the start function.
(module $host_panic_in_start
  (import "host" "panic" (func $panic (param i32)))
  (func $initialise
    (call $panic (i32.const 1)))
  (start $initialise)
  (func $_start (export "_start")))
