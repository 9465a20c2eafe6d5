;; `ref.as_non_null` of a null reference.
(module $ref_as_non_null
  (func $insist (param externref)
    (drop (ref.as_non_null (local.get 0))))
  (func $_start (export "_start")
    (call $insist (ref.null extern))))
