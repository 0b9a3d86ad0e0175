package truenas

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"time"
)

// An opening is a call made while the link is opened, before it has a reader.
type opening struct {
	method string
	params []any
	result json.RawMessage
	err    *Error
}

// maxEarly limits the events that may arrive before the link is set up.
const maxEarly = 4096

// exchange sends the calls together and returns when all have replies or the link fails; replies
// may arrive in any order.
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
				return errors.New("no reply after many events")
			}
			continue
		}
		call := waiting[*m.ID]
		if call == nil {
			continue // duplicate reply
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

// isTimeout also recognises the error of a read deadline.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
