# Writes src/train/optimizers/torch.json: what PyTorch makes of a small least-squares problem in six steps (float32, CPU).
# python3 bench/peers/optimizers.py src/train/optimizers/torch.json
import json, sys, torch, torch.optim as O
torch.set_num_threads(1)
import torch.optim._muon as M
# Newton-Schulz in float32 instead of bfloat16, so that numbers can be compared.
def zeropower(grad, ns_coefficients, ns_steps, eps):
    a,b,c = ns_coefficients
    x = grad.float()
    if grad.size(0) > grad.size(1): x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(ns_steps):
        g = x @ x.T
        x = a*x + (b*g + c*g@g) @ x
    return x.T if grad.size(0) > grad.size(1) else x
M._zeropower_via_newtonschulz = zeropower
def problem():
    g = torch.Generator().manual_seed(7)
    r = lambda *s: torch.randn(*s, generator=g)
    return dict(x=r(16,5), y=r(16,3), w=r(3,5)*0.5, b=r(3)*0.1)
def run(make, steps=6):
    p = problem()
    w = torch.nn.Parameter(p['w'].clone()); b = torch.nn.Parameter(p['b'].clone())
    opts = make(w,b)
    out=[]
    for _ in range(steps):
        for o in opts: o.zero_grad()
        loss = ((p['x'] @ w.T + b - p['y'])**2).mean()
        loss.backward()
        for o in opts: o.step()
        out.append(dict(loss=loss.item(), w=w.detach().flatten().tolist(), b=b.detach().tolist()))
    return out
def groups(w,b,wd): return [dict(params=[w],weight_decay=wd),dict(params=[b],weight_decay=0.0)]
class Lion(torch.optim.Optimizer):
    # Algorithm 2 of Chen et al. 2023.
    def __init__(self, params, lr, betas=(0.9,0.99)): super().__init__(params, dict(lr=lr, betas=betas, weight_decay=0.0))
    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g['params']:
                s=self.state[p]
                if not s: s['m']=torch.zeros_like(p)
                b1,b2=g['betas']
                c=b1*s['m']+(1-b1)*p.grad
                p.mul_(1-g['lr']*g['weight_decay']); p.add_(torch.sign(c),alpha=-g['lr'])
                s['m']=b2*s['m']+(1-b2)*p.grad
cases = {
 'sgd': (dict(kind='sgd',learningRate=0.1,weightDecay=0.05), lambda w,b:[O.SGD(groups(w,b,0.05),lr=0.1)]),
 'sgd with momentum': (dict(kind='sgd',learningRate=0.05,momentum=0.9), lambda w,b:[O.SGD(groups(w,b,0),lr=0.05,momentum=0.9)]),
 'sgd with Nesterov momentum': (dict(kind='sgd',learningRate=0.05,momentum=0.9,nesterov=True,weightDecay=0.1), lambda w,b:[O.SGD(groups(w,b,0.1),lr=0.05,momentum=0.9,nesterov=True)]),
 'adam': (dict(kind='adam',learningRate=0.05,weightDecay=0.1), lambda w,b:[O.Adam(groups(w,b,0.1),lr=0.05)]),
 'adamw': (dict(kind='adamw',learningRate=0.05,weightDecay=0.1,beta1=0.8,beta2=0.95), lambda w,b:[O.AdamW(groups(w,b,0.1),lr=0.05,betas=(0.8,0.95))]),
 'adafactor': (dict(kind='adafactor',learningRate=0.1,weightDecay=0.1), lambda w,b:[O.Adafactor(groups(w,b,0.1),lr=0.1)]),
 'lion': (dict(kind='lion',learningRate=0.02,weightDecay=0.1), lambda w,b:[Lion(groups(w,b,0.1),lr=0.02)]),
 'muon': (dict(kind='muon',learningRate=0.05,weightDecay=0.1), lambda w,b:[O.Muon([w],lr=0.05,weight_decay=0.1,adjust_lr_fn='match_rms_adamw'), O.AdamW([b],lr=0.05,weight_decay=0)]),
}
p=problem()
json.dump(dict(problem={k:v.flatten().tolist() for k,v in p.items()}, made_with=f'torch {torch.__version__}', cases={n:dict(options=o,steps=run(m)) for n,(o,m) in cases.items()}), open(sys.argv[1],'w'))
