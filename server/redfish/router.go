package redfish

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// object is a JSON object. Its keys are written in alphabetical order, so that equal resources have equal ETags.
type object map[string]any

// link is a reference to another resource.
func link(path string) object { return object{"@odata.id": path} }

func links(paths ...string) []object {
	list := make([]object, len(paths))
	for i, path := range paths {
		list[i] = link(path)
	}
	return list
}

// A route defines the operations on the resources of one pattern. A pattern is a path whose segments may be {names}.
type route struct {
	pattern string
	open    bool // readable without a login, as the standard requires
	get     func(*call) (object, error)
	raw     func(*call) error // writes a response that is not a JSON object
	patch   func(*call, object) error
	post    func(*call, object) (answer, error)
	remove  func(*call) error

	// needs is the privilege to change the resource.
	needs privilege
	// login marks a POST that logs in, which needs no login.
	login bool
}

// answer is the response to a POST.
type answer struct {
	status   int
	location string
	header   http.Header
	body     object
}

var done = answer{status: http.StatusNoContent}

// methods lists the methods for the Allow header.
func (r route) methods() []string {
	var list []string
	if r.get != nil || r.raw != nil {
		list = append(list, http.MethodGet, http.MethodHead)
	}
	if r.post != nil {
		list = append(list, http.MethodPost)
	}
	if r.patch != nil {
		list = append(list, http.MethodPatch)
	}
	if r.remove != nil {
		list = append(list, http.MethodDelete)
	}
	return list
}

// find returns the route of an escaped path, and the values of the names in its pattern.
func find(routes []route, path string) (route, map[string]string, bool) {
	segments, ok := split(path)
	if !ok {
		return route{}, nil, false
	}
	for _, r := range routes {
		if params, ok := match(r.pattern, segments); ok {
			return r, params, true
		}
	}
	return route{}, nil, false
}

// split returns the unescaped segments of a path. It ignores one slash at the end.
func split(path string) ([]string, bool) {
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for i, segment := range segments {
		text, err := url.PathUnescape(segment)
		if err != nil || i > 0 && text == "" {
			return nil, false
		}
		segments[i] = text
	}
	return segments, true
}

func match(pattern string, segments []string) (map[string]string, bool) {
	parts := strings.Split(pattern, "/")
	if len(parts) != len(segments) {
		return nil, false
	}
	params := map[string]string{}
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			params[strings.TrimSuffix(name, "}")] = segments[i]
		} else if part != segments[i] {
			return nil, false
		}
	}
	return params, true
}

// allowed lists methods for the Allow header.
func (r route) allowed() string { return strings.Join(r.methods(), ", ") }

func (r route) allows(method string) bool { return slices.Contains(r.methods(), method) }
