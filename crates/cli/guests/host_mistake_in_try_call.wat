;; A host function that tries a call has nothing to call: no failure of what it called, but its own.
(module $host_mistake_in_try_call
  (import "host" "print_i32" (func $print (param i32)))
  (import "host" "try_call" (func $try_call (param funcref) (result i32)))
  (elem declare func $fails)
  (func $fails (unreachable))
  (func $_start (export "_start")
    (call $print (call $try_call (ref.func $fails)))
    (call $print (call $try_call (ref.null func)))))
