package conformance

import (
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// validations is a realistic number of Validate calls of the manager in a second: one for each reconcile of each VM.
const validations = 100

// validateBudget is the time limit for all of them, over a network.
const validateBudget = 10 * time.Second

// checkValidate expects a provider in working order, and fast replies.
func checkValidate(c *checker) {
	begin := time.Now()
	for range validations {
		resp, err := call(c, c.target.Client.Validate, &providerv1.ValidateRequest{})
		if err != nil || !resp.GetOk() {
			c.Fatalf("ok=%t, %q, %v", resp.GetOk(), resp.GetMessage(), err)
		}
	}
	if took := time.Since(begin); took > validateBudget {
		c.Errorf("%d Validates took %v; they come with every reconcile of every VM", validations, took)
	}
}
