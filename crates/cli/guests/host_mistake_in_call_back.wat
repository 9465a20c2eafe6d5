;; A host function is to call back a function of another type than it calls: an error of
;; the host function, and so the guest's trap.
(module $host_mistake_in_call_back
  (import "host" "call_back" (func $call_back (param funcref)))
  (elem declare func $work)
  (func $work (param i32))
  (func $_start (export "_start") (call $call_back (ref.func $work))))
