// Package nils tells nil from what only looks like something.
package nils

import "reflect"

// Is reports whether v is nil: an interface, or a pointer, map, slice, channel
// or func in one.
func Is(v any) bool {
	switch value := reflect.ValueOf(v); value.Kind() { //nolint:exhaustive // the others cannot be nil
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return value.IsNil()
	}
	return false
}
