"""The messages of the v1 HTTP API that the local Mesos reads, as a table.

One line per message: ``Name: field``, each field ``name`` + mark + type. Marks: ``!`` required,
``?`` optional, ``*`` repeated. Types: ``s`` string, ``y`` bytes (base64), ``d`` double, ``i`` integer,
``b`` boolean, ``j`` any JSON (kept as it came), ``Name`` a message, ``@Name`` an enumeration.
Taken from Mesos 1.11's ``include/mesos/v1``; fields that the local Mesos neither uses nor hands on
are left out and, like unknown ones, ignored.
"""

from __future__ import annotations

MESSAGES = """
ID: value!s
Duration: nanoseconds!i
Labels: labels*Label
Label: key!s value?s
Scalar: value!d
Range: begin!i end!i
Ranges: range*Range
Set: item*s
Reservation: type?@ReservationType role?s principal?s labels?Labels
Allocation: role?s
Resource: provider_id?ID name!s type!@ValueType scalar?Scalar ranges?Ranges set?Set role?s \
allocation_info?Allocation reservation?Reservation reservations*Reservation disk?j revocable?j \
shared?j
Filters: refuse_seconds?d
Capability: type?@FrameworkCapability
FrameworkInfo: user!s name!s id?ID failover_timeout?d checkpoint?b role?s roles*s hostname?s \
principal?s webui_url?s capabilities*Capability labels?Labels domain?j
URI: value!s executable?b extract?b cache?b output_file?s
Variable: name!s type?@VariableType value?s secret?j
Environment: variables*Variable
CommandInfo: uris*URI environment?Environment shell?b value?s arguments*s user?s
ExecutorInfo: type?@ExecutorType executor_id!ID framework_id?ID command?CommandInfo container?j \
resources*Resource name?s source?s data?y discovery?j shutdown_grace_period?Duration labels?Labels
KillPolicy: grace_period?Duration
TaskInfo: name!s task_id!ID agent_id!ID resources*Resource executor?ExecutorInfo command?CommandInfo \
container?j data?y health_check?j check?j kill_policy?KillPolicy labels?Labels discovery?j \
max_completion_time?Duration
TaskGroup: tasks*TaskInfo
TaskStatus: task_id!ID state!@TaskState message?s source?@Source reason?@Reason data?y agent_id?ID \
executor_id?ID timestamp?d uuid?y healthy?b check_status?j labels?Labels container_status?j \
unreachable_time?j
Launch: task_infos*TaskInfo
LaunchGroup: executor!ExecutorInfo task_group!TaskGroup
Reserve: source*Resource resources*Resource
Unreserve: resources*Resource
Operation: type?@OperationType id?ID launch?Launch launch_group?LaunchGroup reserve?Reserve \
unreserve?Unreserve create?j destroy?j grow_volume?j shrink_volume?j create_disk?j destroy_disk?j
Subscribe: framework_info!FrameworkInfo suppressed_roles*s offer_constraints?j
Accept: offer_ids*ID operations*Operation filters?Filters
Decline: offer_ids*ID filters?Filters
AcceptInverseOffers: inverse_offer_ids*ID filters?Filters
DeclineInverseOffers: inverse_offer_ids*ID filters?Filters
Revive: roles*s
Suppress: roles*s
Kill: task_id!ID agent_id?ID kill_policy?KillPolicy
Shutdown: executor_id!ID agent_id!ID
Acknowledge: agent_id!ID task_id!ID uuid!y
AcknowledgeOperationStatus: agent_id?ID resource_provider_id?ID uuid!y operation_id!ID
ReconcileTask: task_id!ID agent_id?ID
Reconcile: tasks*ReconcileTask
ReconcileOperation: operation_id!ID agent_id?ID resource_provider_id?ID
ReconcileOperations: operations*ReconcileOperation
Message: agent_id!ID executor_id!ID data!y
Request: agent_id?ID resources*Resource
Requests: requests*Request
UpdateFramework: framework_info!FrameworkInfo suppressed_roles*s offer_constraints?j
SchedulerCall: framework_id?ID type?@SchedulerCallType subscribe?Subscribe accept?Accept \
decline?Decline accept_inverse_offers?AcceptInverseOffers \
decline_inverse_offers?DeclineInverseOffers revive?Revive kill?Kill shutdown?Shutdown \
acknowledge?Acknowledge acknowledge_operation_status?AcknowledgeOperationStatus reconcile?Reconcile \
reconcile_operations?ReconcileOperations message?Message request?Requests suppress?Suppress \
update_framework?UpdateFramework
ExecutorSubscribe: unacknowledged_tasks*TaskInfo unacknowledged_updates*ExecutorUpdate
ExecutorUpdate: status!TaskStatus
ExecutorMessage: data!y
ExecutorCall: executor_id!ID framework_id!ID type?@ExecutorCallType subscribe?ExecutorSubscribe \
update?ExecutorUpdate message?ExecutorMessage
Path: path!s
ReadFile: path!s offset!i length?i
Teardown: framework_id!ID
MachineID: hostname?s ip?s
Unavailability: start!Duration duration?Duration
Window: machine_ids*MachineID unavailability!Unavailability
Schedule: windows*Window
UpdateMaintenanceSchedule: schedule!Schedule
GetMetrics: timeout?Duration
OperatorCall: type?@OperatorCallType get_metrics?GetMetrics list_files?Path read_file?ReadFile \
teardown?Teardown update_maintenance_schedule?UpdateMaintenanceSchedule
"""

ENUMS = """
ReservationType: UNKNOWN STATIC DYNAMIC
ValueType: SCALAR RANGES SET TEXT
VariableType: UNKNOWN VALUE SECRET
ExecutorType: UNKNOWN DEFAULT CUSTOM
FrameworkCapability: REVOCABLE_RESOURCES TASK_KILLING_STATE GPU_RESOURCES SHARED_RESOURCES \
PARTITION_AWARE MULTI_ROLE RESERVATION_REFINEMENT REGION_AWARE
TaskState: TASK_STAGING TASK_STARTING TASK_RUNNING TASK_KILLING TASK_FINISHED TASK_FAILED \
TASK_KILLED TASK_ERROR TASK_LOST TASK_DROPPED TASK_UNREACHABLE TASK_GONE TASK_GONE_BY_OPERATOR \
TASK_UNKNOWN
Source: SOURCE_MASTER SOURCE_AGENT SOURCE_EXECUTOR
Reason: REASON_COMMAND_EXECUTOR_FAILED REASON_CONTAINER_LAUNCH_FAILED REASON_CONTAINER_LIMITATION \
REASON_CONTAINER_LIMITATION_DISK REASON_CONTAINER_LIMITATION_MEMORY REASON_CONTAINER_PREEMPTED \
REASON_CONTAINER_UPDATE_FAILED REASON_EXECUTOR_REGISTRATION_TIMEOUT \
REASON_EXECUTOR_REREGISTRATION_TIMEOUT REASON_EXECUTOR_TERMINATED REASON_EXECUTOR_UNREGISTERED \
REASON_FRAMEWORK_REMOVED REASON_GC_ERROR REASON_INVALID_FRAMEWORKID REASON_INVALID_OFFERS \
REASON_MASTER_DISCONNECTED REASON_RECONCILIATION REASON_RESOURCES_UNKNOWN REASON_AGENT_DISCONNECTED \
REASON_AGENT_REMOVED REASON_AGENT_REMOVED_BY_OPERATOR REASON_AGENT_REREGISTERED \
REASON_AGENT_RESTARTED REASON_AGENT_UNKNOWN REASON_TASK_CHECK_STATUS_UPDATED \
REASON_TASK_HEALTH_CHECK_STATUS_UPDATED REASON_TASK_GROUP_INVALID REASON_TASK_GROUP_UNAUTHORIZED \
REASON_TASK_INVALID REASON_TASK_KILLED_DURING_LAUNCH REASON_TASK_UNAUTHORIZED REASON_TASK_UNKNOWN \
REASON_MAX_COMPLETION_TIME_REACHED
OperationType: UNKNOWN LAUNCH LAUNCH_GROUP RESERVE UNRESERVE CREATE DESTROY GROW_VOLUME \
SHRINK_VOLUME CREATE_DISK DESTROY_DISK
SchedulerCallType: SUBSCRIBE TEARDOWN ACCEPT DECLINE ACCEPT_INVERSE_OFFERS DECLINE_INVERSE_OFFERS \
REVIVE KILL SHUTDOWN ACKNOWLEDGE ACKNOWLEDGE_OPERATION_STATUS RECONCILE RECONCILE_OPERATIONS MESSAGE \
REQUEST SUPPRESS UPDATE_FRAMEWORK UNKNOWN
ExecutorCallType: SUBSCRIBE UPDATE MESSAGE HEARTBEAT UNKNOWN
OperatorCallType: UNKNOWN GET_HEALTH GET_FLAGS GET_VERSION GET_METRICS GET_LOGGING_LEVEL LIST_FILES \
READ_FILE GET_STATE GET_AGENTS GET_FRAMEWORKS GET_EXECUTORS GET_OPERATIONS GET_TASKS GET_ROLES \
GET_WEIGHTS GET_MASTER SUBSCRIBE GET_MAINTENANCE_STATUS GET_MAINTENANCE_SCHEDULE \
UPDATE_MAINTENANCE_SCHEDULE GET_QUOTA TEARDOWN GET_CONTAINERS GET_AGENT
"""

# What a field that is not set counts as, and is shown as: message -> field -> value.
DEFAULTS: dict[str, dict[str, object]] = {
    "CommandInfo": {"shell": True},
    "Variable": {"type": "VALUE"},
}
