package metadata

import (
	"net/http"
	"slices"
	"strings"

	grpcmd "google.golang.org/grpc/metadata"
)

// Raw returns the values of one key as they are in md, neither joined nor cleaned nor
// copied, however many they are and however long: to be measured with [Size] before
// anything is done with them. HTTP/2 lets 7 KB on the wire become 20 MB of crumbs. key is in
// lower case, as are the keys of md. The result is memory of md: it must not be modified.
//
// It is empty for a key that is not [Forwardable] or that Connection declares to be for one
// hop. What grpc-gateway renamed counts as [Header] says: cookie and authorization are its
// where the native ones are absent, and its own names are then empty.
func Raw(md grpcmd.MD, key string) []string {
	switch key {
	case authorizationKey, cookieKey:
		if values := own(md, key); len(values) > 0 {
			return values
		}
		return own(md, gatewayPrefix+key)
	case gatewayPrefix + authorizationKey, gatewayPrefix + cookieKey:
		values := own(md, key)
		if len(values) == 0 || len(own(md, key[len(gatewayPrefix):])) == 0 {
			return nil
		}
		return values
	}
	if !Forwardable(key) {
		return nil
	}
	return own(md, key)
}

// Size returns how many bytes values take when they are joined with "; ", as those of
// cookie are. Together with their number it bounds what reading them costs.
func Size(values []string) int {
	size := 2 * max(0, len(values)-1)
	for _, value := range values {
		size += len(value)
	}
	return size
}

// Values returns the values of one key, cleaned and joined as [Header] does it, without
// converting the rest: what Header holds, or would hold if it did not leave a header of
// this name to be asked for by name. Values scans, and may copy, what [Raw] returns. key
// is in lower case, as are the keys of md. The result may share memory with md: it must
// not be modified.
func Values(md grpcmd.MD, key string) []string {
	return valuesOf(md, key, false)
}

// CleanValues does for one header of an HTTP request what [Values] does for gRPC metadata;
// -bin values stay as they are. name is in any case. The result shares no memory with header.
func CleanValues(header http.Header, name string) []string {
	key := strings.ToLower(name)
	native := strings.TrimPrefix(key, gatewayPrefix)
	related := grpcmd.MD{}
	for field, values := range header {
		switch lower := strings.ToLower(field); lower {
		case native, gatewayPrefix + native, connectionKey:
			related[lower] = append(related[lower], values...)
		}
	}
	return valuesOf(related, key, true)
}

func valuesOf(md grpcmd.MD, key string, wire bool) []string {
	values := Raw(md, key)
	if len(values) == 0 {
		return nil
	}
	if key != gatewayPrefix+authorizationKey && key != gatewayPrefix+cookieKey {
		return cleanValues(key, values, wire)
	}
	native := key[len(gatewayPrefix):]
	cleaned := cleanValues(native, values, wire)
	if slices.Equal(cleanValues(native, own(md, native), wire), cleaned) {
		return nil
	}
	return cleaned
}

// own returns the values of key, unless they are for one hop.
func own(md grpcmd.MD, key string) []string {
	if slices.Contains(nominated(nil, md[connectionKey]), key) {
		return nil
	}
	return md[key]
}

// nominated appends the names, in lower case, that the values of Connection declare to be
// for this hop alone.
func nominated(names, values []string) []string {
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			names = append(names, strings.ToLower(strings.TrimSpace(name)))
		}
	}
	return names
}
