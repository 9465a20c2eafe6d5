;; A recursion through the host: guest -> host -> guest, without an end. The
;; stack limit is one for all entries together, so that it ends like any other.
(module $host_recursion
  (import "host" "call_back" (func $call_back (param funcref)))
  (elem declare func $again)
  (func $again
    (call $call_back (ref.func $again)))
  (func $_start (export "_start")
    (call $again)))
