package truenas

import (
	"context"
	"encoding/json"
	"fmt"
)

// A kind decides what to do when the reply to a call is lost.
type kind int

const (
	read   kind = iota // changes nothing: repeated if the link is lost
	change             // sent once: a lost reply is ErrUncertain
	job                // sent once: returns the id of a job, which is awaited
)

// none is the result of a method that returns null.
type none = *struct{}

// ignored is an unused result that differs between releases.
type ignored = json.RawMessage

// A method describes a call of TrueNAS's API: its name, whether it may be repeated, and the type of
// its result.
type method[T any] struct {
	name string
	kind kind
}

// call makes the call and decodes its result.
func (m method[T]) call(ctx context.Context, c *Client, params ...any) (T, error) {
	var out T
	ctx, ended := c.s.watched(ctx, m.name)
	result, err := c.s.do(ctx, m.name, m.kind, params)
	if err == nil {
		if err = json.Unmarshal(result, &out); err != nil {
			err = fmt.Errorf("%s: unexpected result: %w", m.name, err)
		}
	}
	err = listed(m.name, err)
	ended(err)
	return out, err
}

// start makes a call that starts a job and returns the job's id.
func (m method[T]) start(ctx context.Context, c *Client, params ...any) (JobID, error) {
	return method[JobID](m).call(ctx, c, params...)
}

// wait makes a call that starts a job and returns when the job has ended.
func (m method[T]) wait(ctx context.Context, c *Client, progress func(Progress), params ...any) (Job, error) {
	id, err := m.start(ctx, c, params...)
	if err != nil {
		return Job{}, err
	}
	return c.s.waitJob(ctx, id, m.name, progress)
}
