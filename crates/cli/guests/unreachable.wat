;; `unreachable`, two calls deep.
(module $unreachable
  (func $give_up unreachable)
  (func $work (call $give_up))
  (func $_start (export "_start") (call $work)))
