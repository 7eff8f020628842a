"""Configurations of our own, in the ways people write them. ``{{tag}}`` is bound to v7 by the tests."""

LOOP = """
import getpass

def service(name, cpu=0.5, **extra):
  '''One of our services.'''
  process = Process(name=name, cmdline='./%s --port {{thermos.ports[http]}}' % name)
  return Service(
    cluster='devcluster', role=getpass.getuser(), environment='prod', name=name,
    task=SequentialTask(processes=[process], resources=Resources(cpu=cpu, ram=64*MB, disk=64*MB)),
    **extra)

jobs = []
for index, name in enumerate(['web', 'api', 'mail']):
  if name == 'mail':
    continue
  jobs.append(service(name, cpu=0.5 * (index + 1), instances=index + 1))
jobs.extend(service('worker%d' % n, priority=n) for n in range(2))
jobs += [service('extra', tier='preferred')]
"""

COMPREHENSION = """
SIZES = {'small': 1, 'large': 4}
base = Job(cluster='devcluster', role='www-data', environment='test')
jobs = [
  base(name='%s-%02d' % (size, n),
       task=SimpleTask('run', 'echo {0} {1}'.format(size, factor)),
       instances=factor)
  for size, factor in sorted(SIZES.items())
  for n in range(1, 3) if n != 2 or factor > 1
]
"""

PROFILE = """
class Profile(Struct):
  cpu = Default(Float, 0.25)
  ram = Default(Integer, 128*MB)
  version = Required(String)
  command = Default(String, './run-{{profile.version}}.sh')

PRODUCTION = Profile(cpu=2.0, ram=1*GB, version='1.4')
TEST = Profile(version='{{tag}}')

run = Process(name='run', cmdline='{{profile.command}}', max_failures='3')
task = Task(name='app', processes=[run],
            resources=Resources(cpu='{{profile.cpu}}', ram='{{profile.ram}}', disk=1*GB))
app = Service(cluster='devcluster', role='www-data', name='app', task=task, instances='3')
jobs = [
  app(environment='prod', production=True).bind(profile=PRODUCTION),
  app(environment='test').bind(profile=TEST),
]
"""

COMBINED = """
setup = SequentialTask(
  name='setup',
  processes=[Process(name='fetch', cmdline='fetch {{mesos.instance}}'),
             Process(name='unpack', cmdline='tar x')],
  resources=Resources(cpu=0.5, ram=64*MB, disk=512*MB))
serve = Task(
  name='serve',
  processes=[Process(name='serve', cmdline='serve {{thermos.ports[http]}}', logger=Logger(mode='rotate',
    rotate=RotatePolicy(log_size=5*MB, backups=2)))],
  resources=Resources(cpu=1, ram=256*MB, disk=64*MB))
jobs = [Service(cluster='devcluster', role='www-data', environment='prod',
                task=Tasks.concat(setup, serve, name='all', finalization_wait=60),
                announce=Announcer(primary_port='http', portmap={'admin': 'http', 'health': 'admin'}))]
"""

CHOICES = """
volumes = [Volume(container_path='/etc/app', host_path='/etc/app', mode=Mode('RO'))]
common = dict(cluster='devcluster', role='www-data', environment='prod', task=SimpleTask('x', 'sleep 1'))
jobs = [
  Job(name='docker', container=Docker(image='app:{{tag}}', parameters=[
    Parameter(name='env', value='A=b'), {'name': 'network', 'value': 'host'}]), **common),
  Job(name='wrapped', container=Container(docker=Docker(image='app')), **common),
  Job(name='mesos', container=Mesos(image=DockerImage(name='app-{{tag}}', tag='1.0'), volumes=volumes),
      **common),
  Job(name='count', sla_policy=CountSlaPolicy(count=1, duration_secs=30), **common),
  Job(name='share', sla_policy=PercentageSlaPolicy(percentage=97.5, duration_secs='60'), **common),
]
"""

UPDATES = """
def job(name, strategy):
  return Service(
    cluster='devcluster', role='www-data', environment='prod', name=name, instances=10,
    update_config=UpdateConfig(update_strategy=strategy, watch_secs=5, max_total_failures=2),
    task=SimpleTask('x', 'sleep 1'))

jobs = [
  job('queue', QueueUpdateStrategy(batch_size=3)),
  job('batch', BatchUpdateStrategy(batch_size=4, autopause_after_batch=True)),
  job('variable', VariableBatchUpdateStrategy(batch_sizes=[1, '2', 3])),
]
"""

CHECKED = """
checker = HealthCheckerConfig({'shell': ShellHealthChecker(shell_command='curl -f localhost')})
jobs = [Service(
  cluster='devcluster', role='www-data', environment='prod', name='checked',
  health_check_config=HealthCheckConfig(
    health_checker=checker, interval_secs='2.5', min_consecutive_successes=2),
  lifecycle=LifecycleConfig(http=HttpLifecycleConfig(port='admin', graceful_shutdown_wait_secs=7)),
  partition_policy=PartitionPolicy(delay_secs=60),
  metadata=[Metadata(key='team', value='{{role}}'), Metadata(key='a', value='b')],
  constraints={'host': 'limit:1', 'rack': '!r1,r2', 'dedicated': 'www-data/web'},
  contact='{{role}}@{{cluster}}.example.com',
  task=SimpleTask('x', 'sleep {{thermos.task_id}}'))]
"""

TEXTS = r"""
import os
from textwrap import dedent

user = os.environ['USER']
region = os.environ.get('REGION', 'eu-1')
flags = ' '.join(['--%s=%s' % (k, v) for k, v in [('user', user), ('region', region)]])
heap = '%.1f' % (1.5 * 2)
script = dedent('''
  set -e
  for f in *.txt; do grep -E '^\d+\.\w' "$f"; done
  echo ''' + "'%d%%' \"$PWD\"" % 5 + '''
''')
path = '/'.join(['', 'opt', user.upper(), 'bin']).replace('//', '/')
run = Process(name='run', cmdline=script.strip() + '\n' + path + '/app ' + flags + ' -Xmx' + heap + 'g')
start = Process(name='start', cmdline=f'{path!r} {len(flags):>5} {3.14159:.2f} {{literal}}')
jobs = [Job(cluster='devcluster', role=user, environment='test',
            task=Task(processes=[run, start], constraints=order(run, start),
                      resources=Resources(cpu=1, ram=3 * MB // 2, disk=int(10.9) * MB)))]
"""

ORDERS = """
names = ['a', 'b', 'c', 'd']
processes = [Process(name=n, cmdline='echo ' + n, final=(n == 'd')) for n in names]
first, rest = processes[0], processes[1:-1]
constraints = order(first, *rest) + order('a', 'c')
task = Task(name='t', processes=processes, constraints=constraints, max_concurrency=2,
            resources=Resources(cpu=0.1, ram=MB, disk=MB))
assert len(task.processes()) == 4 if False else True, 'never'
jobs = [Job(cluster='devcluster', role='www-data', environment='test', name=first.name(), task=task)]
"""

CONDITIONS = """
import os
try:
  import shared_settings
except ImportError:
  shared_settings = None

def pick(options, *keys, default=None):
  for key in keys:
    if key in options and options[key] is not None:
      return options[key]
  else:
    return default

options = {'cpu': None, 'ram': 2}
options['disk'] = options.get('disk', 5)
options.update(instances=4)
cpu = pick(options, 'cpu', 'processors', default=0.75)
ram = pick(options, 'ram') * 64 * MB
environment = 'prod' if os.getenv('USER') == 'vagrant' and not shared_settings else 'devel'
resources = Resources(cpu=cpu, ram=ram, disk=options['disk'] * GB)
jobs = [Service(cluster='devcluster', role='www-data', environment=environment,
                name='c' + str(len(options)), instances=max(options['instances'], 2) - 1,
                task=SimpleTask('c', 'true')(resources=resources))]
"""

NESTED = """
class Port(Struct):
  name = String
  number = Default(Integer, 80)

class Site(Struct):
  ports = List(Port)
  labels = Default(Map(String, String), {'tier': 'web'})
  kind = Default(Enum('small', 'large'), 'small')

site = Site(ports=[Port(name='http'), {'name': 'tls', 'number': '443'}])
run = Process(name='run', cmdline='serve {{site.ports[1].name}}={{site.ports[1].number}} '
                                  '{{site.labels[tier]}} {{site.kind}} {{mode}} {{deep.er.value}}')
jobs = [Job(cluster='devcluster', role='www-data', environment='test',
            task=Task(processes=[run], resources=Resources(cpu=1, ram=MB, disk=MB)))
        .bind(site=site).bind({'mode': 'fast', 'deep.er': {'value': 1}}, mode='slow')]
"""

OPTIONS = """
arguments = java_options('server', {'Xmx': '2g'}, cp='app.jar') + ' ' + python_options('v', debug='true')
both = Tasks.combine(
  SimpleTask('one', 'java ' + arguments),
  SimpleTask('two', 'true'), name='both', max_failures=2)
jobs = [Job(cluster='devcluster', role='www-data', environment='test', name='both', task=both,
            cron_schedule='0 3 * * *', cron_collision_policy='CANCEL_NEW')]
"""

ALL = {name: text for name, text in list(globals().items()) if name.isupper() and isinstance(text, str)}
