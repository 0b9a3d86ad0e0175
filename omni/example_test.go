package omni_test

import (
	"encoding/json"
	"fmt"

	"virtrigaud-provider-truenas/omni"
)

func ExampleIsProviderID() {
	fmt.Println(omni.IsProviderID("truenas"), omni.IsProviderID("My NAS"))
	// Output: true false
}

func ExampleSchema() {
	var schema struct{ Type string }
	err := json.Unmarshal([]byte(omni.Schema()), &schema)
	fmt.Println(schema.Type, err)
	// Output: object <nil>
}
