package interceptor

// ForwardOption configures a [Forwarder]. A nil ForwardOption is ignored.
type ForwardOption interface{ applyForward(*forwardConfig) }

type forwardConfig struct {
	header string
}

func (name secretHeaderOption) applyForward(c *forwardConfig) { c.header = string(name) }
