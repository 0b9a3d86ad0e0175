// Package omni is an infrastructure provider of Omni: it turns machine requests into virtual machines, only by calling the
// provider.v1 RPCs of one or several backends.
//
//	p, err := omni.New(omni.Config{ID: "truenas", Providers: []omni.Backend{{Name: "nas", Client: client}}, State: state, Factory: factory})
//	err = p.Run(ctx)
//
// A machine boots a nocloud image of Talos, which all machines of a schematic and a Talos version share. Its seed makes it join
// Omni. Omni stores the records of requests ([machine.Machine]), and the backends store the machines, so a restart loses no
// state.
//
// Three things surprise. The SDK drops a step's record when the step returns a plain error, so steps return their errors to
// [Provisioner.step], the only caller that reports them to the SDK. Omni stores the name of a request's current step, so
// the names of [Provisioner.ProvisionSteps] are a file format. Omni does not display errors of a deprovisioning, so the health
// text reports them.
package omni
