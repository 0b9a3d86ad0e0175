package sim

import (
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"
)

// request is a JSON-RPC request as received.
type request struct {
	id     json.RawMessage // nil: a notification without a reply
	method string
	params []json.RawMessage
}

// errNotText reports a frame that is not JSON in UTF-8. It closes the connection.
var errNotText = errors.New("the message is not JSON")

// decodeFrame parses one request. It refuses everything except a JSON-RPC 2.0 request object with its parameters in an array. The
// error reply has the id if the request has one.
func decodeFrame(frame []byte) (request, error) {
	if !utf8.Valid(frame) || !json.Valid(frame) {
		return request{}, errNotText
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(frame, &fields); err != nil || fields == nil {
		return request{}, invalidRequest("a request is an object; batches are not supported")
	}
	var r request
	if raw, ok := fields["id"]; ok {
		if raw[0] != '"' && raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return r, invalidRequest("id is a string or a number")
		}
		r.id = raw
	}
	for name := range fields {
		if !slices.Contains([]string{"jsonrpc", "id", "method", "params"}, name) {
			return r, invalidRequest("there is a member that a request does not have")
		}
	}
	if string(fields["jsonrpc"]) != `"2.0"` {
		return r, invalidRequest("jsonrpc is \"2.0\"")
	}
	if !decodeString(fields["method"], &r.method) || r.method == "" {
		return r, invalidRequest("method is a string")
	}
	if raw, ok := fields["params"]; ok {
		if raw[0] != '[' || json.Unmarshal(raw, &r.params) != nil {
			return r, invalidRequest("params is an array")
		}
	}
	return r, nil
}

// decodeString parses a JSON string and no other type.
func decodeString(raw json.RawMessage, dst *string) bool {
	return len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, dst) == nil
}

func invalidRequest(text string) error {
	return &CallError{Code: codeInvalidRequest, Message: "Invalid Request: " + text}
}

// replyFrame makes a reply from an encoded result.
func replyFrame(id, result json.RawMessage) []byte {
	frame := make([]byte, 0, len(id)+len(result)+40)
	frame = append(frame, `{"jsonrpc":"2.0","id":`...)
	frame = append(frame, id...)
	frame = append(frame, `,"result":`...)
	frame = append(frame, result...)
	return append(frame, '}')
}

// errorFrame makes an error reply. A malformed request may have no id.
func errorFrame(id json.RawMessage, e *CallError) []byte {
	body, err := json.Marshal(e)
	if err != nil {
		panic("sim: an error cannot be encoded: " + err.Error())
	}
	if id == nil {
		id = json.RawMessage("null")
	}
	frame := append([]byte(`{"jsonrpc":"2.0","id":`), id...)
	frame = append(frame, `,"error":`...)
	frame = append(frame, body...)
	return append(frame, '}')
}
