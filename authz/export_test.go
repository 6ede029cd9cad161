package authz

import "reflect"

// Field is field, for tests.
func Field[T any](of reflect.Value, name string) (T, bool) { return field[T](of, name) }
