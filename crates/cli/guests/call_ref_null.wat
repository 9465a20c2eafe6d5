;; `call_ref` of a null reference.
(module $call_ref_null
  (type $action (func))
  (func $perform (param (ref null $action))
    (call_ref $action (local.get 0)))
  (func $_start (export "_start")
    (call $perform (ref.null $action))))
