;; `unreachable`, two calls deep.
(module $unreachable
  (func $give_up unreachable)
  (func $work (call $give_up))
  (func (export "_start") (call $work)))
