package truenas

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// TrueNAS closes a connection that sends a larger frame (1009). Before login the limit is 8192
// bytes.
const maxFrame = 65536

// A message is a reply or a notification.
type message struct {
	ID     *int64          `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *wireError      `json:"error"`
}

// A wireError is a JSON-RPC error in TrueNAS's form.
type wireError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    *struct {
		Error  json.RawMessage `json:"error"`
		Name   *string         `json:"errname"`
		Reason *string         `json:"reason"`
		Extra  json.RawMessage `json:"extra"`
		Trace  json.RawMessage `json:"trace"`
	} `json:"data"`
}

func encodeCall(id int64, method string, params []any) ([]byte, error) {
	if params == nil {
		params = []any{}
	}
	frame, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      int64  `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}{"2.0", id, method, params})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	if len(frame) > maxFrame {
		return nil, &Error{Method: method, Reason: fmt.Sprintf("the request has %d bytes, TrueNAS takes %d", len(frame), maxFrame), kind: ErrInvalid}
	}
	return frame, nil
}

func decodeMessage(data []byte) (message, error) {
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		return message{}, fmt.Errorf("a frame is not JSON-RPC: %w", err)
	}
	switch {
	case m.ID == nil && m.Method == "" && m.Error != nil:
		return message{}, m.Error.toError("")
	case m.ID == nil && m.Method == "":
		return message{}, errors.New("a frame is neither a reply nor a notification")
	}
	return m, nil
}

// toError never fails: it keeps as text what it cannot parse.
func (w *wireError) toError(method string) *Error {
	e := &Error{Method: method, Code: w.Code, Reason: w.Message}
	if w.Data == nil {
		return e
	}
	e.Errno = lenientInt(w.Data.Error)
	if w.Data.Name != nil {
		e.Name = *w.Data.Name
	}
	if w.Data.Reason != nil && *w.Data.Reason != "" {
		e.Reason = *w.Data.Reason
	}
	e.Fields = fieldErrors(w.Data.Extra)
	var trace struct {
		Class string `json:"class"`
	}
	if json.Unmarshal(w.Data.Trace, &trace) == nil && trace.Class == matchNotFound {
		e.Name = matchNotFound
	}
	return e
}

// fieldErrors reads [[attribute, message, errno], …] and ignores any other form.
func fieldErrors(raw json.RawMessage) []FieldError {
	var rows []json.RawMessage
	if json.Unmarshal(raw, &rows) != nil {
		return nil
	}
	var out []FieldError
	for _, row := range rows {
		var cells []json.RawMessage
		if json.Unmarshal(row, &cells) != nil || len(cells) < 2 {
			continue
		}
		var f FieldError
		_ = json.Unmarshal(cells[0], &f.Attribute) // null is the object itself
		_ = json.Unmarshal(cells[1], &f.Message)
		if len(cells) > 2 {
			f.Errno = lenientInt(cells[2])
		}
		out = append(out, f)
	}
	return out
}

// lenientInt is 0 for anything but a number.
func lenientInt(raw json.RawMessage) int {
	var n float64
	if json.Unmarshal(raw, &n) != nil || math.Abs(n) > math.MaxInt32 {
		return 0
	}
	return int(n)
}
