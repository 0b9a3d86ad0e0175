package truenas

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"time"
)

// An opening is a call made while a link is opened, before there is a reader.
type opening struct {
	method string
	params []any
	result json.RawMessage
	err    error
}

// maxEarly is how many events may come before a link is set up.
const maxEarly = 4096

// exchange sends the calls together and returns when each has its answer or
// the link fails; answers may come in any order.
func (l *link) exchange(deadline time.Time, calls ...*opening) error {
	waiting := map[int64]*opening{}
	began := time.Now()
	for _, call := range calls {
		l.opened++
		id := l.opened
		frame, err := encodeCall(id, call.method, call.params)
		if err != nil {
			return err
		}
		if err := l.write(frame); err != nil {
			return err
		}
		waiting[id] = call
	}
	if err := l.ws.SetReadDeadline(deadline); err != nil {
		return err
	}
	for len(waiting) > 0 {
		_, data, err := l.ws.ReadMessage()
		if err != nil {
			return err
		}
		m, err := decodeMessage(data)
		if err != nil {
			return err
		}
		if m.ID == nil {
			if l.early = append(l.early, m); len(l.early) > maxEarly {
				return errors.New("events come without end, and no answer")
			}
			continue
		}
		call := waiting[*m.ID]
		if call == nil {
			continue // an answer that came twice
		}
		delete(waiting, *m.ID)
		call.result = m.Result
		if m.Error != nil {
			call.err = m.Error.toError(call.method)
		}
	}
	l.latency.Store(int64(time.Since(began)))
	return nil
}

// isTimeout also knows the error of a deadline that passed while reading.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
